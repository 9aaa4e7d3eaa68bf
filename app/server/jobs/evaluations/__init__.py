"""Evaluations of datasets that lie with the service: kept in folders, run by the app."""
