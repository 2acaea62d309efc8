#!/usr/bin/perl

# The path machine against a real derper on loopback: upgrade and login over
# plain HTTP, packets, STUN, and a direct path by CallMeMaybe.

use strict;
use warnings;

use FindBin;
use IO::Socket::IP;
use Test::More;
use Time::HiRes qw(sleep);

use File::Temp qw(tempdir);

my $root = "$FindBin::Bin/..";
my $program = ($ENV{BUILD} // "$root/build") . '/t/unit/derp_live';
chomp(my $bin = `$root/t/peers/build --bin`);

plan skip_all => 'no derper: make peers' unless -x "$bin/derper";

ok(-x $program, 'the program is built') or BAIL_OUT('make units');

my $dir = tempdir(CLEANUP => 1);
my ($port, $stun) = (free_port('tcp'), free_port('udp'));
my $pid = start();

END {
    if ($pid) {
        my $status = $?;
        kill TERM => $pid;
        waitpid $pid, 0;
        $? = $status;
    }
}

ok(accepts(), 'derper is up');

my @lines = `$program $port $stun 2>&1`;
my $status = $?;

for (@lines) {
    chomp;

    if (/^(not )?ok \d+ - (.*)/) {
        ok(!$1, $2);

    } elsif (!/^1\.\./) {
        diag($_) if $status;
    }
}

is($status, 0, 'all of it');

done_testing();


sub free_port {
    my ($proto) = @_;
    my $socket = IO::Socket::IP->new(LocalHost => '127.0.0.1',
        LocalPort => 0, Proto => $proto) or die "no port: $@";

    return $socket->sockport;
}


sub start {
    my $pid = fork // die "fork: $!";

    return $pid if $pid;

    open STDOUT, '>', "$dir/log";
    open STDERR, '>&', \*STDOUT;
    exec "$bin/derper", '-a', "127.0.0.1:$port", '-http-port', '-1',
        '-stun-port', $stun, '-c', "$dir/key";
    exit 1;
}


sub accepts {
    for (1 .. 100) {
        return 1 if IO::Socket::IP->new(PeerHost => '127.0.0.1',
            PeerPort => $port, Timeout => 1);
        sleep 0.1;
    }

    return 0;
}
