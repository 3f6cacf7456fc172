"""What the documentation site is made with: MkDocs' hooks, pages from the source, tables of figures, pictures."""
