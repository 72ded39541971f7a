"""What `gateway doctor` checks, one file per topic: facts in, sentences that say what to do out."""
