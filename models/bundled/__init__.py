"""The bundled model: how it was trained and how it is evaluated."""
