"""Annotations as people's own tools write them: tables, ELAN, BORIS, Label Studio."""
