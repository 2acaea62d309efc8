package Tailnet::Load;

# Clients of the lab that ask without a pause, each request over a connection
# of its own, and compare every byte of the answers: what "nothing is lost"
# is counted with.

use strict;
use warnings;

use Time::HiRes qw(time sleep);


# The client: host, port, path, file with the expected body, report. Ends at
# TERM, after the answer that is under way. A connection that is not answered
# within 20 s has failed.

my $CLIENT = <<'CLIENT';
use strict;
use IO::Select;
use Socket qw(:all);
use Errno qw(EINPROGRESS EAGAIN);
use Fcntl;
use Time::HiRes qw(time);
my ($ip, $port, $path, $file, $report) = @ARGV;
open my $in, '<:raw', $file or die "$file: $!";
my $want = do { local $/; <$in> };
my ($end, $good, $bytes, $slowest, %failed) = (0, 0, 0, 0);
$SIG{TERM} = sub { $end = 1 };
$SIG{PIPE} = 'IGNORE';
open my $up, '>', "$report.up" or die;
my ($error, @to) = getaddrinfo($ip, $port, { socktype => SOCK_STREAM,
                                             flags => AI_NUMERICHOST });
die $error if $error;
sub wait_for {
    my ($s, $write, $until) = @_;
    my $set = IO::Select->new($s);
    while ((my $left = $until - time) > 0) {
        return 1 if $write ? $set->can_write($left) : $set->can_read($left);
    }
    return 0;
}
sub ask {
    my $until = time + 20;
    socket my $s, $to[0]{family}, SOCK_STREAM, 0 or return "socket: $!";
    fcntl $s, F_SETFL, O_NONBLOCK;
    unless (connect $s, $to[0]{addr}) {
        return "connect: $!" unless $! == EINPROGRESS;
        wait_for($s, 1, $until) or return 'connect: timed out';
        my $e = unpack 'i', getsockopt $s, SOL_SOCKET, SO_ERROR;
        if ($e) { $! = $e; return "connect: $!" }
    }
    syswrite $s, "GET $path HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n";
    my ($got, $begun) = ('');
    while (1) {
        wait_for($s, 0, $until)
            or return length $got ? 'answer: stalled' : 'answer: timed out';
        my $n = sysread $s, $got, 262144, length $got;
        next if !defined $n && $! == EAGAIN;
        return 'answer: ' . (length $got ? "$! under way" : "$!")
            unless defined $n;
        last if $n == 0;
        $until = time + 20;
    }
    return 'answer: none' if $got eq '';
    my ($status) = $got =~ m{\AHTTP/1\.1 (\d+)} or return 'answer: strange';
    return "status $status" if $status != 200;
    my $body = substr $got, index($got, "\r\n\r\n") + 4;
    $bytes += length $body;
    return $body eq $want ? '' : length $body < length $want ? 'cut off'
        : 'other bytes';
}
until ($end) {
    my $begin = time;
    my $what = ask();
    my $took = time - $begin;
    $slowest = $took if $took > $slowest;
    if ($what eq '') { $good++ }
    else { $failed{$what}++; select undef, undef, undef, 0.05 }
}
open my $out, '>', "$report.new" or die;
print {$out} "good $good\nbytes $bytes\nslowest $slowest\n",
    map { "failed $failed{$_} $_\n" } sort keys %failed;
close $out;
rename "$report.new", $report;
CLIENT


# new($lab, name => { host => $host, ip => ..., port => 80, path => '/',
#     file => '/the/expected/body', clients => 2 }, ...)

sub new {
    my ($class, $lab, %groups) = @_;

    my $self = bless { lab => $lab, groups => \%groups }, $class;
    $self->{client} = $lab->write_file($lab->path('load-client.pl'), $CLIENT);

    return $self;
}


sub start {
    my ($self) = @_;

    for my $name (sort keys %{$self->{groups}}) {
        my $g = $self->{groups}{$name};

        for my $n (1 .. $g->{clients} // 2) {
            my $report = $self->{lab}->path("load-$name-$n");

            unlink $report, "$report.up";
            push @{$self->{running}}, [$name, $report,
                $g->{host}->start("load-$name-$n", [$^X, $self->{client},
                    $g->{ip}, $g->{port} // 80, $g->{path} // '/',
                    $g->{file}, $report])];
        }
    }

    for my $client (@{$self->{running}}) {
        $client->[2]->wait_until(20, 'start', sub { -e "$client->[1].up" });
    }

    return $self;
}


# { name => { good, bytes, slowest, failed => { what => count }, lost } }, and
# the sums under the name "all"; lost counts what failed.

sub stop {
    my ($self) = @_;
    my %all = map { $_ => { good => 0, bytes => 0, slowest => 0,
                            failed => {}, lost => 0 } }
        'all', keys %{$self->{groups}};
    my @running = splice @{$self->{running}};

    $_->[2]->signal('TERM') for @running;

    for my $client (@running) {
        my ($name, $report, $process) = @$client;

        $process->reap(45);

        my $text = $self->{lab}->read_file($report);
        $text = "failed 1 no report\n" if $text eq '';

        for my $sum (@all{$name, 'all'}) {
            for (split /\n/, $text) {
                my ($what, $value, $why) = split / /, $_, 3;

                if ($what eq 'failed') {
                    $sum->{failed}{$why} += $value;
                    $sum->{lost} += $value;
                } elsif ($what eq 'slowest') {
                    $sum->{slowest} = $value if $value > $sum->{slowest};
                } else {
                    $sum->{$what} += $value;
                }
            }
        }
    }

    return \%all;
}


# A line about a group of what stop() returned.

sub line {
    my ($sum) = @_;

    return sprintf '%d answers, %.1f MB, slowest %.2f s, %d failed%s',
        $sum->{good}, $sum->{bytes} / 1e6, $sum->{slowest}, $sum->{lost},
        join '', map { ", $sum->{failed}{$_} x $_" }
            sort keys %{$sum->{failed}};
}


1;
