"""Sign-on: people of an organisation, by the tokens of its OpenID Connect issuer."""
