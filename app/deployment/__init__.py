"""What a deployment in containers needs before its parts start: python -m app.deployment.

No password, key or certificate ships with the service: they are made here, once, at first start.
"""
