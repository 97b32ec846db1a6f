"""What `import bench` offers, one file for each group of functions. The command line calls these
and prints what they return."""
