"""A hash that a record may hold: of no key, and of a shape that is computed."""

PHC = f"$argon2id$v=19$m=19456,t=2,p=1${'s' * 22}${'h' * 43}"
