"""The generator of the site: `make docs`, or `python -m docs.generate` in the repository's root.

cells.py       a lesson's script as cells: Markdown in two languages, code
execute.py     runs the code cells of a script, in a process of its own
outputs.py     what the cells printed, kept until the code changes
pages.py       a lesson's page
notebooks.py   a lesson's notebook
index.py       the table: heading of the notes, lesson, page, notebook, exercise, picture
models.py      a page for each model
graph.py       the drawing of an ONNX graph; cost.py: its multiply-adds
snippets.py    the code on a model's page: Python, ONNX Runtime, curl
reference.py   commands.py, the fields of recipes, the Python API, endpoints
words.py       the two languages
hooks.py       what mkdocs calls: navigation, formulas, links to files outside of docs/
"""
