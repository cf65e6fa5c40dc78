"""Reporting forms of a run: participants, flow, checklists, model card."""
