"""Beside the PACS: images come in by C-STORE, results go back into their study.

An ordinary client of the service. What was accepted is on disk before the sender is told so, and
is given up by nobody but a person: `node` takes, `spool` keeps, `certifying` and `delivering` work
it off, `report` and `pdf` are what the study gets.
"""
