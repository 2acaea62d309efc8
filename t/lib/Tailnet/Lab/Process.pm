package Tailnet::Lab::Process;

# A long-running process in a namespace of the lab. Its output goes to
# NAME.log in the lab's directory, and it dies with the lab.

use strict;
use warnings;

use Carp qw(croak);
use POSIX qw(WNOHANG);
use Time::HiRes qw(time sleep);

my $CLOCK_TICKS = POSIX::sysconf(POSIX::_SC_CLK_TCK());


# start($lab, $place, $name, [command], env => {...}, signal => 'QUIT')
#   place: a Host or the Switch
#   signal: how it is asked to end (default TERM)

sub start {
    my ($class, $lab, $place, $name, $command, %opt) = @_;

    my $self = bless {
        lab    => $lab,
        name   => $name,
        signal => $opt{signal} // 'TERM',
        log    => $lab->path("$name.log"),
    }, $class;

    my $pid = fork() // croak "fork: $!";

    if ($pid == 0) {
        # The terminal's Ctrl-C is for the lab, which ends things in order.
        setpgrp(0, 0);

        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
        %ENV = (%ENV, %{$opt{env} // {}});

        open(STDIN, '<', '/dev/null');
        open(STDOUT, '>>', $self->{log});
        open(STDERR, '>&', \*STDOUT);

        my @command = ('setpriv', '--pdeathsig', $self->{signal},
                       'ip', 'netns', 'exec', $place->ns, @$command);

        exec { $command[0] } @command or print STDERR "exec: $!\n";
        POSIX::_exit(127);
    }

    $self->{pid} = $pid;

    return $lab->adopt($self);
}


sub pid { return $_[0]{pid} }
sub log { my ($self) = @_; return $self->{lab}->read_file($self->{log}) }


# The last lines of what it wrote; log() is all of it.

sub log_tail {
    my ($self, $lines) = @_;
    my @lines = split /^/, $self->log;
    my $from = @lines > $lines ? @lines - $lines : 0;

    return join '', @lines[$from .. $#lines];
}


# Is it there? Once it is gone, {status} is as $? has it.

sub alive {
    my ($self) = @_;

    return 0 if defined $self->{status};

    my $pid = waitpid($self->{pid}, WNOHANG);
    $self->{status} = $? if $pid == $self->{pid};
    $self->{status} = -1 if $pid == -1;

    return !defined $self->{status};
}


sub status { return $_[0]{status} }


# Sends a signal; false when it has ended.

sub signal {
    my ($self, $signal) = @_;
    return $self->alive && kill($signal, $self->{pid});
}


# Waits for the code to return true while the process lives.

sub wait_until {
    my ($self, $seconds, $what, $code) = @_;
    my $result = eval {
        $self->{lab}->wait_for($seconds, "$what of $self->{name}", sub {
            my $result = $code->();
            die "$self->{name} ended\n" if !$result && !$self->alive;
            return $result;
        });
    };

    return $result if $result;

    croak "$@--- end of $self->{name}.log:\n" . $self->log_tail(15);
}


sub wait_log {
    my ($self, $seconds, $regex) = @_;

    return $self->wait_until($seconds, "$regex in the log",
                             sub { $self->log =~ $regex });
}


# Asks it to end; reap() waits for that, and kills it after the seconds.

sub terminate {
    my ($self) = @_;
    $self->signal($self->{signal});
}


sub reap {
    my ($self, $seconds) = @_;
    my $end = time() + $seconds;

    while ($self->alive) {
        if (time() >= $end) {
            $self->signal('KILL');
            $end += 3600;
        }

        sleep(0.01);
    }

    return $self->{status};
}


# Both; returns the status.

sub stop {
    my ($self, $seconds) = @_;

    $self->terminate;

    return $self->reap($seconds // 15);
}


# CPU seconds used so far by these processes, with those of the children they
# have waited for. A process that has gone counts nothing.

sub cpu_seconds {
    my (@pids) = @_;
    my $ticks = 0;

    for my $pid (@pids) {
        open(my $f, '<', "/proc/$pid/stat") or next;
        my $line = <$f> // next;

        # The name, in parentheses, may hold anything.
        my @fields = split ' ', $line =~ s/^.*\)//sr;
        $ticks += $_ for @fields[11 .. 14];
    }

    return $ticks / $CLOCK_TICKS;
}


1;
