"""Takes all that an account has out to a folder, and files from elsewhere in. Invariant: nothing that stood at the
target is lost, what is taken counts only when its hash was seen to hold, and doing it again goes on where it was cut.
"""
