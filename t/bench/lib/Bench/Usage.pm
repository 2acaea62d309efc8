package Bench::Usage;

# What processes and the machine have used, from /proc.

use strict;
use warnings;

use POSIX ();
use Time::HiRes qw(clock_gettime);

my $CLOCK_TICKS = POSIX::sysconf(POSIX::_SC_CLK_TCK());
my $CPUCLOCK_SCHED = 2;     # the kernel's name for it


# CPU seconds of these processes so far, all of their threads, also of those
# that have ended meanwhile (a data thread's helper comes and goes): each
# process has a clock of that, in the scheduler's nanoseconds. Its number is made
# of the PID as clock_getcpuclockid() does.

sub cpu {
    my (@pids) = @_;
    my $seconds = 0;

    for my $pid (@pids) {
        my $used = clock_gettime((-1 - $pid) * 8 + $CPUCLOCK_SCHED);
        $seconds += $used if $used > 0;
    }

    return $seconds;
}


# { busy, steal }: CPU seconds of the whole machine, interrupts included. It is
# sampled by the kernel's tick, so it needs an interval of a second or more.

sub machine {
    my ($user, $nice, $system, undef, undef, $irq, $softirq, $steal) =
        slurp('/proc/stat') =~ /^cpu +(.*)$/m ? split(' ', $1) : ();

    return {
        busy  => ($user + $nice + $system + $irq + $softirq) / $CLOCK_TICKS,
        steal => ($steal // 0) / $CLOCK_TICKS,
    };
}


# { rss, pss } of these processes together, in MB (10^6). RSS counts a page
# once for each process that maps it, PSS shares it out.

sub memory {
    my (@pids) = @_;
    my %sum = (rss => 0, pss => 0);

    for my $pid (@pids) {
        my $text = slurp("/proc/$pid/smaps_rollup");

        $sum{lc $1} += $2 * 1024 / 1e6 while $text =~ /^([RP]ss): +(\d+)/mg;
    }

    return \%sum;
}


# The processes that run one of these programs.

sub running {
    my %program = map { $_ => 1 } @_;

    return grep {
        $program{readlink("/proc/$_/exe") // ''}
    } map { m{(\d+)} } glob '/proc/[0-9]*';
}


# The module's two programs in the directory where it was installed.

sub ours {
    my ($lab) = @_;

    return map { $lab->path('modules', "ngx_tailnet_$_") } qw(core super);
}


# Those of a host of the lab: in its namespace, or children of such a process
# (the holder of a node's namespace is in that one).

sub of_host {
    my ($host, @programs) = @_;
    my %here = map { $_ => 1 } $host->pids;

    return grep { $here{$_} || $here{parent_of($_)} } running(@programs);
}


sub parent_of {
    my ($pid) = @_;
    return slurp("/proc/$pid/stat") =~ /^\d+ \(.*\) \S (\d+)/ ? $1 : 0;
}


sub name_of {
    my ($pid) = @_;
    return slurp("/proc/$pid/comm") =~ s/\n//r;
}


# The text of a file that may have gone meanwhile.

sub slurp {
    my ($file) = @_;

    open(my $f, '<', $file) or return '';
    local $/;

    return scalar(<$f>) // '';
}


1;
