"""The forms that weights are published in, and how each becomes the files of an installation.

A form is one module with one `Form`; `models.forms.registry` lists them.
"""
