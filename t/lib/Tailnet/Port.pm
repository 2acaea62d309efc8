package Tailnet::Port;

# Ports for programs that a test starts on this host's loopback.

use strict;
use warnings;

use Carp qw(croak);
use IO::Socket::INET;

# Below what the kernel gives to those who ask for any, so that no connection
# takes one between here and the program's bind().

my ($FIRST, $LAST) = (10_000, 30_000);
my %given;


# One that is free now, of "tcp" or "udp", and that was not given to this test
# before. Where it begins to look is up to chance, for other tests look too.

sub free {
    my ($proto) = @_;

    for (1 .. 1000) {
        my $port = $FIRST + int rand $LAST - $FIRST;

        next if $given{$port};

        my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
            LocalPort => $port, Proto => $proto // 'tcp',
            ($proto // 'tcp') eq 'tcp' ? (Listen => 1) : ()) or next;

        return $given{$port} = $port;
    }

    croak 'no port is free';
}


1;
