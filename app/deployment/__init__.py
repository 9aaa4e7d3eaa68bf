"""Deployment: prepares and checks what the service needs to run: python -m app.deployment.

No password, key or certificate ships with the service. They are created here, once, at the first
start.
"""
