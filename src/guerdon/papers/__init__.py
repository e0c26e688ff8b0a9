"""The 119 systems guerdon is built from, each a short assembly of its parts and an executable check of its claim.

``guerdon papers`` lists them, ``guerdon reproduce SLUG`` runs one; :mod:`guerdon.papers.frame` shows how to add one.
"""
