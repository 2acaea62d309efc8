#!/usr/bin/perl

# t/split_dns.t once more, by the lwIP stack.

use strict;
use warnings;

use FindBin;

use Test::More;

plan skip_all => 'built without lwIP'
    if -e "$FindBin::Bin/../build/lwip.missing";

$ENV{TAILNET_STACK} = 'lwip';

exec $^X, "-I$FindBin::Bin/lib", "$FindBin::Bin/split_dns.t"
    or die "exec: $!";
