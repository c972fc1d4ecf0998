// A preload that is nothing: what the dynamic loader itself costs.
