"""A teacher behind an endpoint: what is asked, how a reply is read, and a run that loses nothing."""
