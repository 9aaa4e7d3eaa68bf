"""Certifications: submitting images, and everything about their results."""
