"""Names in a Plan that have a meaning. Nothing is imported: see front/listing.py."""

ANY = "any"  # in place of a device's name: all of them, later ones included
