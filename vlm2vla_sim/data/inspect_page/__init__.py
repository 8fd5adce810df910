"""An HTML page for checking a labelled data set by eye: distributions, the unusual, and paths over images."""
