"""What scripts/compare is made of.

    machine     this machine: folders, ports, commands
    install     what is needed and missing
    models      what is served, and one row to ask with
    wires       how a server is spoken to
    servers     the servers, and the settings that each is tried at
    process     a server as processes, ended to the last of them
    generator   the load
    measure     what is measured, in which order
    results     all of it as plain data, and the figures shown of it
    plots, page the SVG files, docs/compare.md and the README's table

`serving/` holds what runs inside the peers, each in an environment of its own; `requirements/` the pins of those.
"""
