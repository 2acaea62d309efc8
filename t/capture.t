#!/usr/bin/perl

# `ngx_tailnet_core capture`: the packets of a request that a tailscaled made,
# in the clear, in a file that a strict reader takes, and tshark or tcpdump
# where there is one.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Temp;
use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my $peer = $tailnet->{peer};
my $nginx = $lab->nginx(host => $tailnet->{web}, module => 1);

$nginx->configure(
    main => $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key}),
    http => 'server { listen 80 tailnet=home; }');
$nginx->write('html/index.html', "a page to be seen\n");
$nginx->write('html/big', join '', map { "$_\n" } 1 .. 300_000);
$nginx->start;

my $program = $lab->path('modules') . '/ngx_tailnet_core';
my $run = $nginx->run_dir;
my $dir = File::Temp->newdir;

$peer->wait_peer('web', 20);
is($peer->wait_get('http://web/', seconds => 15)->{body},
   "a page to be seen\n", 'nginx is on the tailnet')
    or diag($nginx->error_log);


# a capture that writes to $file until it is killed

sub capture {
    my ($file, @options) = @_;

    unlink $file;

    my $pid = fork // die "fork: $!";

    if ($pid == 0) {
        exec $program, 'capture', '--run', $run, @options, $file;
        exit 127;
    }

    ok(eval { $lab->wait_for(15, $file, sub { -s $file }) },
       'the file has begun');

    return $pid;
}


# the packets of a pcapng file; dies of everything that is not as it must be

sub packets {
    my ($file) = @_;
    my $all = $lab->read_file($file);
    my @packets;
    my $n = 0;

    for (my $at = 0; $at < length $all; $n++) {
        my ($type, $len) = unpack 'NN', substr $all, $at, 8;

        die "block $n: length $len\n"
            if $len % 4 || $len < 12 || $at + $len > length $all;

        my $body = substr $all, $at + 8, $len - 12;
        my $again = unpack 'N', substr $all, $at + $len - 4, 4;

        $at += $len;

        die "block $n: $len is not $again\n" if $again != $len;
        die "block $n: type $type\n"
            if $type != ($n == 0 ? 0x0a0d0d0a : $n == 1 ? 1 : 6);

        if ($n == 0) {
            my ($magic, $major, $minor) = unpack 'Nnn', $body;
            die "version $major.$minor\n"
                if $magic != 0x1a2b3c4d || $major != 1 || $minor != 0;
            next;
        }

        if ($n == 1) {
            my ($link, undef, $snap) = unpack 'nnN', $body;
            die "link type $link\n" if $link != 101 || $snap != 0;
            next;
        }

        my ($interface, $high, $low, $has, $was) = unpack 'N5', $body;
        die "packet $n: $has of $was\n" if $interface || $has != $was;

        my %packet = (bytes => substr($body, 20, $has), lost => 0,
                      seconds => ($high * 2 ** 32 + $low) / 1e9);
        my $options = substr $body, 20 + $has + (-$has % 4);

        while ($options ne '') {
            my ($code, $size) = unpack 'nn', substr $options, 0, 4, '';
            my $value = substr $options, 0, $size + (-$size % 4), '';

            last if $code == 0;
            $packet{out} = unpack('N', $value) == 2 if $code == 2;
            $packet{lost} = unpack('Q>', $value) if $code == 4;
        }

        die "packet $n: no direction\n" unless defined $packet{out};
        die "packet $n: bytes behind the options\n" if $options ne '';

        @packet{qw(proto src dst)} = unpack 'x9Cx2a4a4', $packet{bytes};
        push @packets, \%packet;
    }

    die "$n blocks\n" if $n < 2;

    return @packets;
}


subtest 'a request' => sub {
    my $file = "$dir/page.pcapng";
    my $pid = capture($file);

    is((Tailnet::Lab::capture($program, 'capture', '--run', $run,
                              "$dir/second"))[0], 1, 'one at a time');
    ok(!-e "$dir/second", 'and no file of the second');

    my $begin = time;
    my $page = $peer->get('http://web/', timeout => 10);
    is($page->{body}, "a page to be seen\n", 'nginx serves');

    my @seen;
    ok(eval { $lab->wait_for(10, 'the answer', sub {
        @seen = grep { $_->{proto} == 6 } packets($file);
        grep { $_->{bytes} =~ /a page to be seen/ } @seen }) },
       'the answer is in the file') or diag($@);

    kill 'TERM', $pid;
    waitpid $pid, 0;

    my ($mine, $ours) = map { pack 'C4', split /\./, $_ }
        $peer->ip4, $peer->peer('web')->{TailscaleIPs}[0];
    my ($in) = grep { $_->{bytes} =~ m{GET / HTTP/1} } @seen;
    my ($out) = grep { $_->{bytes} =~ /a page to be seen/ } @seen;

    ok($in && !$in->{out}, 'the request came');
    ok($out && $out->{out}, 'the answer went');
    is($in->{src}, $mine, 'from the peer');
    is($in->{dst}, $ours, 'to this node');
    is($out->{src}, $ours, 'from this node');
    is($out->{dst}, $mine, 'to the peer');
    cmp_ok(abs($in->{seconds} - $begin), '<', 60, 'at that time');
    is((grep { $_->{lost} } @seen), 0, 'none was lost');
    is((stat $file)[2] & 07777, 0600, "for the owner's eyes only");

    my @readers = grep { -x "/usr/bin/$_->[0]" } ['tshark', '-nr'],
        ['tcpdump', '-nAr'];

    for my $reader (@readers) {
        my ($status, $output) = Tailnet::Lab::capture(@$reader, $file);
        my $ip = $peer->ip4;

        is($status, 0, "$reader->[0] reads it") or diag($output);
        like($output, qr{\Q$ip\E.*GET / HTTP/1}s, 'and sees the request');
    }
};

subtest 'nobody waits for it' => sub {
    my $pid = open(my $slow, '-|', $program, 'capture', '--run', $run, '-')
        or die "capture: $!";

    read $slow, my $head, 72;
    is(unpack('N', $head), 0x0a0d0d0a, 'a capture that is not read');

    for (1 .. 4) {
        my $got = $peer->get('http://web/big', timeout => 20);
        is(length($got->{body} // ''), -s $nginx->prefix . '/html/big',
           'nginx serves meanwhile');
    }

    # all that was held, and a packet after the lost ones

    my $rest = $head;

    ok(eval { $lab->wait_for(30, 'the count', sub {
        $peer->get('http://web/', timeout => 10);
        sysread $slow, $rest, 8 << 20, length $rest;
        lost(\$rest) }) }, 'what did not fit was counted')
        or diag(length $rest);

    kill 'TERM', $pid;
    close $slow;
};

subtest 'its end' => sub {
    my $file = "$dir/short.pcapng";
    my $pid = capture($file, '--seconds', 1);

    waitpid $pid, 0;
    is($?, 0, '--seconds ends it');
    ok(eval { packets($file); 1 }, 'with a whole file') or diag($@);

    $pid = capture($file);
    kill 'KILL', $pid;
    waitpid $pid, 0;
    ok(eval { packets($file); 1 }, 'so does SIGKILL') or diag($@);

    my ($status, $output) = Tailnet::Lab::capture($program, 'capture',
        '--run', $run, '--node', 'other', $file);
    is($status, 1, 'no such node');
    like($output, qr/no node of this name/, 'is said to be that');
    ($status, $output) = Tailnet::Lab::capture($program, 'capture',
        '--run', $run, "$dir/nowhere/file");
    is($status, 1, 'a file that cannot be made');
    like($output, qr/No such file or directory/, 'for this reason');
    is((Tailnet::Lab::capture($program, 'capture', '--run', $run))[0], 2,
       'no file');
    is((Tailnet::Lab::capture($program, 'capture', '--seconds', 'x',
                              $file))[0], 2, 'no number');
    is($peer->get('http://web/', timeout => 10)->{body},
       "a page to be seen\n", 'nginx serves after all that');
};

unlike($nginx->error_log, qr/core .*exited|\[(?:alert|emerg)\]/,
       'nothing bad in the log');

done_testing();


# how many packets the blocks of $$all call lost; the last may be cut

sub lost {
    my ($all) = @_;
    my $lost = 0;

    for (my $at = 0; $at + 28 <= length $$all; ) {
        my ($type, $len) = unpack 'NN', substr $$all, $at, 8;
        last if $at + $len > length $$all || $len < 12;

        if ($type == 6) {
            my $has = unpack 'N', substr $$all, $at + 20, 4;
            my $behind = 28 + $has + (-$has % 4) + 8;

            $lost += unpack 'Q>', substr $$all, $at + $behind + 4, 8
                if unpack('n', substr $$all, $at + $behind, 2) == 4;
        }

        $at += $len;
    }

    return $lost;
}
