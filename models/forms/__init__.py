"""Published forms of weights and their conversion to an installation's files.

Each form is one module with one `Form`; `models.forms.registry` lists them.
"""
