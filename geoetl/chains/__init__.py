"""One file per job type: spec, checks and stages; the registry; compilation into chords."""
