"""The audit: written before what it is about is done, read and verified after."""
