"""What `gateway doctor` looks at, a topic a file: facts in, sentences that say what to do out."""
