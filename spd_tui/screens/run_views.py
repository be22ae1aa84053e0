"""The parts of the run screen: their names, keys and hints."""

VIEWS = {"curves": "C", "evaluation": "E", "settings": "T", "figures": "P", "log": "O"}
"""The parts and the keys that lead to them."""

WHAT = {
    "curves": "loss, L0 and evaluation curves",
    "evaluation": "everything the last evaluation measured",
    "settings": "the settings as a tree",
    "figures": "the figures as pictures",
    "log": "the end of the log",
}
"""What each of them shows."""

HINTS_OF = {
    "curves": "+ - 0 zoom  L log  x axis  t kinds  / narrow  space add  ⏎ enlarge  ? keys",
    "evaluation": "y copy  Tab next part  ? keys",
    "settings": "y copy  ⏎ fold  / search  ? keys",
    "figures": "+ - 0 zoom  y copy path  ⏎ enlarge  ? keys",
    "log": "G end  / narrow  ? keys",
}
"""The keys worth knowing in each."""
