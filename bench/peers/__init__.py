"""What is measured, ours and the others, each as a process of its own with a queue or a port and nothing else.

The scripts of the peers run in an environment that has their libraries and nothing of this project's, so they import
only their library, the standard library and one another.
"""
