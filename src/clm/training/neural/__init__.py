"""N-HiTS and PatchTST. PyTorch lives in child processes only: importing it takes seconds, and trees beside it
in one process can hang. What is here talks to them; `child` and `networks` are the other side."""
