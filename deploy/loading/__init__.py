"""The import: needs and offers from files, through the public API of the running platform.

It acts as whoever runs it. It creates and submits; it verifies, approves and decides nothing.
Every row of every file ends as created, already there, or set aside with its column and what to
do; docs/import.md is its manual.

reading   files -> rows, whatever is wrong with them
columns   headings and cells: which column is meant, what a cell says
records   rows -> bodies of the API, with what has to be said about them
sending   bodies -> the platform, in batches
account   what became of each row
"""
