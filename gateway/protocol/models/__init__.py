"""The dialects of models' providers: which model is asked for, and what an answer took."""
