"""A vision-language model as judge: base (the contract), modes (what is asked), parse (what counts as an answer),
local (any model of the hub or of a folder, and the embedded one)."""
