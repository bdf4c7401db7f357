/* The review: keys, moving between photos without a reload, selecting, and an endless grid.
   Each thing done here is a link or a form of the page, which works without this file too. */
"use strict";
document.documentElement.classList.add("script");

const $ = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const aloud = (text) => { const region = $("#aloud"); region.textContent = ""; setTimeout(() => { region.textContent = text; }, 60); };

/* ── Pages without a reload ─────────────────────────────────────────────────────────────────── */

const ahead = new Map(); // address → promise of a page's text, asked for in advance
const busy = (yes) => document.documentElement.classList.toggle("busy", yes);
let latest = 0;

async function load(address, options) {
  const answer = await fetch(address, { credentials: "same-origin", ...options });
  if (!(answer.headers.get("content-type") || "").includes("text/html")) throw new Error("not a page");
  return { text: await answer.text(), address: answer.url };
}

function show({ text, address }, { push = true, focus = true } = {}) {
  const page = new DOMParser().parseFromString(text, "text/html");
  const main = $("main", page);
  if (!main) { location.assign(address); return; }
  const before = $("#panel .scroll");
  const same = new URL(address).pathname === location.pathname;
  const scrolled = same && before ? before.scrollTop : 0;
  $("main").replaceWith(document.adoptNode(main));
  const dialog = $("dialog"), fresh = $("dialog", page);
  if (dialog) dialog.remove();
  if (fresh) document.body.append(document.adoptNode(fresh));
  document.title = page.title;
  if (push && address !== location.href) history.pushState({ moved: true }, "", address);
  else if (!push) history.replaceState(history.state, "", address);
  ready();
  const panel = $("#panel .scroll");
  if (panel) panel.scrollTop = scrolled;
  if (!same) scrollTo(0, 0);
  const problem = $("#problem");
  if (problem) problem.focus();
  else if (focus) $("main").focus({ preventScroll: true });
  const done = $("#done span");
  aloud([done && done.textContent, same ? "" : document.title].filter(Boolean).join(" "));
}

async function go(address, options) {
  const mine = ++latest;
  busy(true);
  try {
    const page = await (ahead.get(address) || load(address));
    if (mine === latest) show(page, options);
  } catch { location.assign(address); }
  finally { ahead.clear(); if (mine === latest) busy(false); }
}

async function send(form, button, { then } = {}) {
  const data = new URLSearchParams(new FormData(form, button));
  const mine = ++latest;
  busy(true);
  try {
    const page = await load((button && button.getAttribute("formaction")) || form.action, { method: "POST", body: data });
    ahead.clear();
    if (mine === latest) { show(page, { push: new URL(page.address).pathname !== location.pathname, focus: !then }); if (then) then(); }
  } catch {
    aloud("No answer came.");
    const message = document.createElement("p");
    message.className = "notice bad";
    message.setAttribute("role", "alert");
    message.textContent = "No answer came from the server. What you typed is still here; try again.";
    const panel = $("#panel .scroll") || $("main");
    all(".notice.lost", panel).forEach((each) => each.remove());
    message.classList.add("lost");
    panel.prepend(message);
  } finally { if (mine === latest) busy(false); }
}

addEventListener("popstate", () => { if ($("main.photo") || history.state) go(location.href, { push: false }); });

/* ── Each page, once it is there ────────────────────────────────────────────────────────────── */

let gone;
function ready() {
  clearTimeout(gone);
  const done = $("#done");
  if (done) gone = setTimeout(() => done.remove(), 9000);
  const clean = new URL(location.href);
  if (clean.searchParams.has("done")) { clean.searchParams.delete("done"); history.replaceState(history.state, "", clean); }
  all(".edit").forEach((details) => details.addEventListener("toggle", () => { if (details.open && !details.contains(document.activeElement.closest("textarea"))) begin(details); }));
  const on = $("[data-keys-on]");
  if (on) { on.checked = keysOn(); on.addEventListener("change", () => { localStorage.setItem("keys", on.checked ? "on" : "off"); }); }
  const current = $(".strip [aria-current]");
  if (current) current.scrollIntoView({ block: "nearest", inline: "center" });
  if ($("main.photo")) { localStorage.setItem("seen", location.pathname.split("/").pop()); lookAhead(); }
  if ($("#grid")) readyGrid();
}

function lookAhead() {
  const next = $("#after");
  if (!next) return;
  const idle = window.requestIdleCallback || ((work) => setTimeout(work, 150));
  idle(() => {
    if (!next.isConnected) return;
    new Image().src = next.dataset.preview;
    const page = load(next.href);
    page.catch(() => {});
    ahead.set(next.href, page);
  });
}

function begin(details) {
  const text = $("textarea", details);
  text.focus();
  text.setSelectionRange(text.value.length, text.value.length);
  if (!CSS.supports("field-sizing", "content")) text.style.height = `${text.scrollHeight + 4}px`;
}

function cancel(form) {
  form.reset();
  const details = form.closest("details");
  if (details) { details.open = false; $("summary", details).focus(); }
}

/* ── Clicks and forms ───────────────────────────────────────────────────────────────────────── */

const plain = (event) => event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;

document.addEventListener("click", (event) => {
  const link = event.target.closest("main.photo a[href^='/photos/']");
  if (link && plain(event)) { event.preventDefault(); go(link.href); return; }
  if (event.target.closest("[data-help]")) help();
  if (event.target.closest("#none")) pickNone();
  const box = event.target.closest(".pick input");
  if (box) pick(box, event.shiftKey);
});
document.addEventListener("reset", (event) => { if (event.target.closest(".edit")) { event.preventDefault(); const form = event.target; all("textarea", form).forEach((text) => { text.value = text.defaultValue; }); const details = form.closest("details"); details.open = false; $("summary", details).focus(); } });
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches("main.photo form[method='post']")) {
    event.preventDefault();
    const chip = event.submitter && event.submitter.name === "drop" ? all("#chips button").indexOf(event.submitter) : -1;
    const then = chip >= 0 ? () => { const buttons = all("#chips button"); const next = buttons[Math.min(chip, buttons.length - 1)]; (next || $("#add")).focus(); }
      : form.matches(".field > .add") ? () => { const add = $("#add"); add.placeholder = "Another keyword, or Esc"; add.focus(); } : undefined;
    send(form, event.submitter, { then });
  }
});
document.addEventListener("change", (event) => {
  const filters = event.target.closest("[data-filters]");
  if (filters && event.target.matches("select") && pointed === event.target) filters.requestSubmit();
  if (event.target.matches("#bulk [name='all']")) counted();
});
let pointed = null; // a select that is used by keyboard changes with each arrow: it waits for its button
document.addEventListener("pointerdown", (event) => { pointed = event.target.closest("select"); });
document.addEventListener("keydown", () => { pointed = null; }, true);
document.addEventListener("formdata", (event) => { // addresses without empty parts
  if (event.target.matches("[data-filters], .find")) for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
});

let touched = null;
document.addEventListener("touchstart", (event) => { touched = event.touches.length === 1 && event.target.closest(".large") ? event.touches[0] : null; }, { passive: true });
document.addEventListener("touchend", (event) => {
  if (!touched || (window.visualViewport && visualViewport.scale > 1.05)) return;
  const { clientX, clientY } = event.changedTouches[0], x = clientX - touched.clientX, y = clientY - touched.clientY;
  touched = null;
  if (Math.abs(x) > 60 && Math.abs(x) > 2 * Math.abs(y)) follow(x < 0 ? "#after" : "#before");
}, { passive: true });

/* ── The grid ───────────────────────────────────────────────────────────────────────────────── */

const tiles = () => all("#grid .tile");
const boxes = () => all("#grid .pick input");
let lastPicked = null;

function readyGrid() {
  watch();
  const more = $("#more");
  const wanted = location.hash.startsWith("#p-") && document.getElementById(location.hash.slice(1));
  if (location.hash.startsWith("#p-") && !wanted && more) { append(more).then(() => readyHash()); }
  else if (wanted) readyHash();
  // Going to the fragment by itself, which a browser may do later, takes the focus away.
  if (wanted && document.readyState !== "complete") addEventListener("load", () => setTimeout(readyHash), { once: true });
  counted();
}

function readyHash() {
  const wanted = document.getElementById(location.hash.slice(1));
  if (wanted) { wanted.scrollIntoView({ block: "center", behavior: "instant" }); $("h2 a", wanted).focus({ preventScroll: true }); }
}

async function append(more) {
  try {
    const { text } = await load(more.href);
    const page = new DOMParser().parseFromString(text, "text/html");
    const everything = $("#bulk [name='all']");
    const fresh = all("#grid .tile", page).filter((tile) => !document.getElementById(tile.id)).map((tile) => document.adoptNode(tile));
    if (everything && everything.checked) fresh.forEach((tile) => tile.classList.add("picked"));
    $("#grid").append(...fresh);
    const next = $("#more", page);
    if (next) { more.closest("p").replaceWith(document.adoptNode(next.closest("p"))); watch(); } else more.closest("p").remove();
  } catch { more.textContent = "More photos (the server does not answer: try again)"; }
}

function watch() {
  const more = $("#more");
  if (more) new IntersectionObserver((seen, watcher) => { if (seen.some((each) => each.isIntersecting)) { watcher.disconnect(); append(more); } }, { rootMargin: "2400px" }).observe(more);
}

function pick(box, through) {
  const list = boxes();
  if (through && lastPicked && lastPicked.isConnected) {
    const [from, to] = [list.indexOf(lastPicked), list.indexOf(box)].sort((a, b) => a - b);
    for (const each of list.slice(from, to + 1)) each.checked = box.checked;
  }
  lastPicked = box;
  counted();
}

function pickNone() {
  boxes().forEach((box) => { box.checked = false; });
  const everything = $("#bulk [name='all']");
  if (everything) everything.checked = false;
  counted();
}

function counted() {
  const list = boxes(), picked = list.filter((box) => box.checked), bulk = $("#bulk");
  const everything = $("[name='all']", bulk), whole = everything && everything.checked;
  for (const box of list) box.closest(".tile").classList.toggle("picked", whole || box.checked);
  bulk.classList.toggle("open", picked.length > 0 || whole);
  $("#grid").classList.toggle("picking", picked.length > 0);
  $("#picked").textContent = whole ? "All selected" : `${picked.length} selected`;
  const words = new Map();
  for (const box of picked) for (const word of box.closest(".tile").dataset.words.split("\n").filter(Boolean)) words.set(word, (words.get(word) || 0) + 1);
  $("#picked-words").replaceChildren(...[...words].sort((a, b) => b[1] - a[1]).slice(0, 40).map(([word, photos]) => { const option = document.createElement("option"); option.value = word; option.label = `${photos} of ${picked.length}`; return option; }));
}

function move(key) {
  const list = tiles();
  if (!list.length) return;
  const here = document.activeElement && document.activeElement.closest("#grid .tile");
  let next = here ? list.indexOf(here) : -1;
  if (!here) next = Math.max(0, list.findIndex((tile) => tile.getBoundingClientRect().top >= 56));
  else if (key === "ArrowRight" || key === "j") next += 1;
  else if (key === "ArrowLeft" || key === "k") next -= 1;
  else {
    const columns = getComputedStyle($("#grid")).gridTemplateColumns.split(" ").length;
    next += key === "ArrowDown" ? columns : -columns;
  }
  const tile = list[Math.max(0, Math.min(list.length - 1, next))];
  $("h2 a", tile).focus({ preventScroll: true });
  tile.scrollIntoView({ block: "nearest" });
}

/* ── Keys ───────────────────────────────────────────────────────────────────────────────────── */

function keysOn() { return localStorage.getItem("keys") !== "off"; }
function help() { const dialog = $("#keys"); if (dialog) { dialog.showModal(); $(".last button", dialog).focus(); } }

function edit(field) {
  const details = $(`.edit[data-field='${field}']`);
  details.open = true;
  begin(details); // now: "toggle" comes later, and letters typed until then would be keys
}

function chips(step) {
  const buttons = all("#chips button");
  const here = buttons.indexOf(document.activeElement);
  const next = buttons[here < 0 ? 0 : (here + step + buttons.length) % buttons.length];
  if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); aloud(next.getAttribute("aria-label")); }
}

function rename() {
  const details = $("#rename"), chip = document.activeElement.closest("#chips button");
  if (!details) return;
  details.open = true;
  if (chip) { $("select", details).value = chip.value; $("input[name='to']", details).focus(); } else $("select", details).focus();
}

const follow = (selector) => { const link = $(selector); if (link) go(link.href); };
const press = (key) => { const button = $(`[data-key='${key}']:not([disabled])`); if (button) button.click(); };

const OF_PHOTO = {
  ArrowRight: () => follow("#after"), j: () => follow("#after"),
  ArrowLeft: () => follow("#before"), k: () => follow("#before"),
  a: () => press("a"), r: () => press("r"), X: () => press("X"), u: () => press("u"),
  c: () => edit("caption"), d: () => edit("description"), e: rename, n: () => $("#add").focus(), x: () => chips(0),
  g: () => location.assign($("#grid-link").href), Escape: () => location.assign($("#grid-link").href),
};
const OF_GRID = {
  ArrowRight: move, ArrowLeft: move, ArrowUp: move, ArrowDown: move, j: move, k: move,
  a: () => press("a"), u: () => press("u"), n: () => { if ($("#bulk.open")) $("#bulk [name='word']").focus(); }, Escape: pickNone,
  x: (key, event) => { const tile = document.activeElement.closest("#grid .tile"); if (tile) { const box = $(".pick input", tile); box.checked = !box.checked; pick(box, event.shiftKey); } },
};
OF_GRID.A = () => { // all above, and this one
  const here = document.activeElement.closest("#grid .tile"), list = tiles();
  if (here) { list.slice(0, list.indexOf(here) + 1).forEach((tile) => { $(".pick input", tile).checked = true; }); counted(); }
};
OF_GRID.X = (key, event) => OF_GRID.x(key, event);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || $("dialog[open]")) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("textarea")) { event.preventDefault(); event.target.form.requestSubmit(); }
    return;
  }
  const target = event.target, key = event.key;
  if (target.matches("textarea, input:not([type='checkbox']), select")) {
    if (key === "Escape") { event.preventDefault(); if (target.closest(".edit")) cancel(target.form); else target.blur(); }
    if (key === "Enter" && target.matches("#bulk [name='word']")) {  // drop or add? The likelier one is a second Enter away
      event.preventDefault();
      const known = all("#picked-words option").some((word) => word.value === target.value.trim());
      $(`#bulk .word button:${known ? "first" : "last"}-of-type`).focus();
    }
    if (key === "Enter" && target.matches("textarea.caption") && !event.shiftKey) { event.preventDefault(); target.form.requestSubmit($("button", target.form)); }
    return;
  }
  if (target.matches("#chips button") && ["ArrowLeft", "ArrowRight", "x", "e", "Delete", "Backspace", "Escape"].includes(key)) {
    event.preventDefault();
    if (key === "ArrowRight") chips(1);
    else if (key === "ArrowLeft") chips(-1);
    else if (key === "e") rename();
    else if (key === "Escape") $("main").focus({ preventScroll: true });
    else if (!event.repeat) target.click();
    return;
  }
  if (!keysOn() && !key.startsWith("Arrow") && key !== "Escape") return;
  if (key === "/") { event.preventDefault(); const find = $(".find input"); find.focus(); find.select(); return; }
  if (key === "?") { help(); return; }
  const known = $("main.photo") ? OF_PHOTO : $("#grid") ? OF_GRID : {};
  if (Object.hasOwn(known, key) && !(event.repeat && "arXu".includes(key))) { event.preventDefault(); known[key](key, event); }
});

ready();
