"""Where the items of a job are run: in processes of this machine, or as Ray actors on many."""
