"use strict";
// The page filters itself: there is no server, and its policy lets nothing be fetched.
(() => {
  const root = document.documentElement;
  const photos = [...document.querySelectorAll("article, .errors > ul > li")];
  const sections = [...document.querySelectorAll("section")];
  const find = document.getElementById("find");
  const chosen = new Set();

  // Links work where the page was made, and lead nowhere from a mail or another machine.
  const made = root.dataset.at;
  if (made && location.protocol === "file:" && decoded(location.pathname) === made) {
    for (const name of document.querySelectorAll("[data-href]")) {
      const link = document.createElement("a");
      link.href = name.dataset.href;
      link.className = "name";
      name.replaceWith(link);
      name.className = "";
      link.append(name);
    }
    for (const up of document.querySelectorAll("[data-up]")) {
      const link = document.createElement("a");
      link.href = up.dataset.up;
      link.append(...up.childNodes);
      up.append(link);
      up.hidden = false;
    }
  }
  if (!find) return;

  function decoded(path) {
    try {
      return decodeURIComponent(path);
    } catch {
      return "";
    }
  }

  // "grün" is found by "grun", too, and "STRASSE" by "straße".
  function plain(text) {
    return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/ß/g, "ss");
  }

  function wordsOf(photo) {
    return [...photo.querySelectorAll(".chips > li")].map((chip) => chip.firstChild.nodeValue.trim());
  }

  // Read when somebody searches, and once.
  const read = new Map();
  function known(photo) {
    if (!read.has(photo)) {
      const folder = photo.closest("section").querySelector("h2 bdi");
      const text = `${photo.textContent} ${folder ? folder.textContent : ""}`;
      read.set(photo, { text: plain(text), words: new Set(wordsOf(photo)) });
    }
    return read.get(photo);
  }

  function filter() {
    const terms = plain(find.value).split(/\s+/).filter(Boolean);
    const all = !terms.length && !chosen.size;
    let shown = 0;
    for (const photo of photos) {
      const fits = all || fit(photo, terms);
      photo.hidden = !fits;
      shown += fits;
    }
    for (const section of sections) {
      section.hidden = !all && !section.querySelector("article:not([hidden]), ul > li:not([hidden]) .why");
    }
    const count = `${shown.toLocaleString("en")} of ${photos.length.toLocaleString("en")}`;
    const words = chosen.size ? ` with ${[...chosen].join(", ")}` : "";
    document.getElementById("found").textContent = all ? "" : count + words;
    document.getElementById("clear").hidden = all;
    document.getElementById("none").hidden = all || shown > 0;
  }

  function fit(photo, terms) {
    const { text, words } = known(photo);
    return terms.every((term) => text.includes(term)) && [...chosen].every((word) => words.has(word));
  }

  const buttons = new Map();
  function addButton(chip) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.append(...chip.childNodes);
    button.addEventListener("click", () => toggle(chip.dataset.word));
    chip.append(button);
    buttons.set(chip.dataset.word, button);
  }

  function toggle(word) {
    if (!chosen.delete(word)) chosen.add(word);
    if (!buttons.has(word)) {
      const chip = document.createElement("li");
      chip.dir = "auto";
      chip.dataset.word = word;
      chip.append(word);
      document.querySelector(".chips.day").prepend(chip);
      addButton(chip);
    }
    buttons.get(word).setAttribute("aria-pressed", String(chosen.has(word)));
    filter();
  }

  for (const chip of document.querySelectorAll(".chips.day > li")) addButton(chip);
  // A word below a photo filters as well. It is no button: a thousand photos would be twenty
  // thousand stops of the Tab key, and the search finds the same.
  document.querySelector("main").addEventListener("click", (event) => {
    const chip = event.target.closest("article .chips > li");
    if (chip && !getSelection().toString()) toggle(chip.firstChild.nodeValue.trim());
  });
  find.addEventListener("input", filter);
  document.getElementById("clear").addEventListener("click", () => {
    find.value = "";
    for (const word of [...chosen]) {
      chosen.delete(word);
      buttons.get(word).setAttribute("aria-pressed", "false");
    }
    filter();
    find.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== find && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      find.focus();
      find.select();
    }
  });
  root.classList.add("filters");
  find.closest(".find").hidden = false;
})();
