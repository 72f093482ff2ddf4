/* cpu_shapes.h - (B, D, T) of the CPU group, for both benchmarks: shapes.py reads what is in braces. */
{1, 64, 128}, {2, 256, 512}, {1, 1024, 1024}, {4, 1024, 2048}, {1, 2048, 8192},
