"""The parts of tools/mac_report.py."""
