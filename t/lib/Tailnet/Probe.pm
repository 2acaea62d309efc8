package Tailnet::Probe;

# Programs for the tests of the control client, on the loopback only: the
# probe (t/lab/control_probe.c), and real control servers. Each object kills
# what it started when it goes.

use strict;
use warnings;

use Carp qw(croak);
use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(time sleep);

use Tailnet::Port;

my $pids = {};

END { my $status = $?; kill 'KILL', keys %$pids; $? = $status }


# new(program => [...], log => FILE): a child whose output is read line by
# line, and kept.

sub new {
    my ($class, %opt) = @_;

    pipe(my $in, my $to) or croak "pipe: $!";
    pipe(my $from, my $out) or croak "pipe: $!";

    my $pid = fork // croak "fork: $!";

    if ($pid == 0) {
        open STDIN, '<&', $in;
        open STDOUT, '>&', $out;
        open STDERR, '>&', $out;
        close $_ for $in, $to, $from, $out;
        exec { $opt{program}[0] } @{$opt{program}} or POSIX::_exit(127);
    }

    close $in;
    close $out;
    $to->autoflush(1);
    $pids->{$pid} = 1;

    return bless { pid => $pid, to => $to, from => $from, text => '',
                   seen => 0, log => $opt{log} }, $class;
}


sub pid { return $_[0]{pid} }
sub text { return $_[0]{text} }


# Reads what there is, for up to so many seconds; false at the end.

sub fill {
    my ($self, $seconds) = @_;
    my $bits = '';

    vec($bits, fileno $self->{from}, 1) = 1;

    return 1 unless select($bits, undef, undef, $seconds);

    my $n = sysread $self->{from}, $self->{text}, 65536,
        length $self->{text};
    return $n;
}


# Waits for a line that matches, after those that matched before; returns it,
# or nothing when it does not come in time: four times the seconds, which are
# those of a machine that is not busy with other things.

sub expect {
    my ($self, $re, $seconds) = @_;
    my $end = time + 4 * ($seconds // 10);

    while (1) {
        while ((my $eol = index $self->{text}, "\n", $self->{seen}) >= 0) {
            my $line = substr $self->{text}, $self->{seen},
                $eol - $self->{seen};
            $self->{seen} = $eol + 1;
            return $line if $line =~ $re;
        }

        my $left = $end - time;
        return if $left <= 0;
        $self->fill($left) or return;
    }
}


# True when no line after those that matched before matches in this time.

sub quiet {
    my ($self, $re, $seconds) = @_;
    my $end = time + $seconds;

    while ((my $left = $end - time) > 0) {
        $self->fill($left) or last;
    }

    return substr($self->{text}, $self->{seen}) !~ $re;
}


sub say {
    my ($self, $line) = @_;

    local $SIG{PIPE} = 'IGNORE';
    print { $self->{to} } "$line\n";
}


sub signal { kill $_[1], $_[0]{pid} }


# Ends it; its exit status.

sub stop {
    my ($self, $signal) = @_;

    return unless delete $pids->{$self->{pid}};

    kill $signal // 'TERM', $self->{pid};
    close $self->{to};

    for (1 .. 50) {
        return $? >> 8 if waitpid($self->{pid}, POSIX::WNOHANG) != 0;
        sleep 0.1;
    }

    kill 'KILL', $self->{pid};
    waitpid $self->{pid}, 0;

    return;
}


sub DESTROY {
    my ($self) = @_;
    local ($?, $!);
    $self->stop('KILL');
}


sub wait_port {
    my ($port, $seconds) = @_;
    my $end = time + $seconds;

    while (time < $end) {
        return 1 if IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                          PeerPort => $port);
        sleep 0.05;
    }

    return;
}

1;
