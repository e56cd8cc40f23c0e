"""Ledgers and records -> what others read: numbers, exports, pages."""
