#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Stands in for a terminal of GRC's, which calls it as TERMINAL -e COMMAND.
shift
exec sh -c "$*" </dev/null
