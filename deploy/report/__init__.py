"""`make report [ROUND=…] [INTO=…] [EVERY=1]`: a computed round as a person reads it, in Markdown.

Everything is read through the public API of a running platform, as an auditor may: nothing is
reckoned here but sums of rows that stand below them.
"""
