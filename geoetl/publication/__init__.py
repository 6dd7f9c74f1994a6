"""Who may see a product, and when: ledger, publication token, read-back."""
