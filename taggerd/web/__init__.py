"""The review in the browser: an app, a door that guards it, and the server that they run in.

:mod:`taggerd.web.app` gathers the areas' routes; an area is one module with ``routes``, and uses
:mod:`taggerd.web.site`. No request reaches an area before :mod:`taggerd.web.door` has checked it.
"""
