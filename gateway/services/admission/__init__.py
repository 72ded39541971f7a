"""Admission: whose key a request carries, where it goes, and whether scopes and limits allow it."""
