#!/usr/bin/perl

# Our WireGuard against Tailscale's own, wireguard-go: handshakes begun by
# either and by both, renewal, keepalives, and cookies under load both ways.
# The C program speaks TAP itself.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

my $program = ($ENV{BUILD} || "$FindBin::Bin/../build") . '/t/unit/wg_go';

BAIL_OUT("make $program") unless -x $program;

$ENV{WIREGUARD_GO} = Tailnet::Lab::find_peers() . '/wireguard';

exec $program or BAIL_OUT("$program: $!");
