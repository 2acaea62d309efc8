package Tailnet::Solo;

# The distribution's nginx with our module in a directory of its own, on this
# host's loopback, without a lab: for what needs no tailnet. Everything it
# started ends with the object, also after die().

use strict;
use warnings;

use Carp qw(croak);
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX qw(WNOHANG);
use Time::HiRes qw(time sleep);

my $ROOT = abs_path(dirname(__FILE__) . '/../../..');

my $user = 'www-data';


# new(env => {...}, user => 0)
#   env: environment of nginx; user: run all of it as nginx's user, not root

sub new {
    my ($class, %opt) = @_;

    my $self = bless {
        env    => $opt{env} // {},
        binary => $ENV{TEST_NGINX_BINARY} // 'nginx',
        build  => abs_path($ENV{TAILNET_BUILD} // "$ROOT/build"),
        static => $ENV{TEST_NGINX_STATIC},
        user   => $opt{user},
        owner  => $$,
    }, $class;

    $self->{dir} = tempdir('tailnet-solo-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    chmod 0755, $self->{dir};

    make_path(map { "$self->{dir}/$_" } qw(conf html logs tmp));

    if ($opt{user}) {
        my ($uid, $gid) = (getpwnam $user)[2, 3];
        chown $uid, $gid, $self->{dir},
            map { "$self->{dir}/$_" } qw(conf html logs tmp);
    }

    return $self;
}


sub dir { return $_[0]{dir} }
sub module { return "$_[0]{build}/ngx_tailnet_module.so" }
sub run_dir { return "$_[0]{dir}/logs/nginx.pid.tailnet" }


sub write {
    my ($self, $name, $text, $mode) = @_;
    my $path = "$self->{dir}/$name";

    make_path(dirname($path));
    open my $fh, '>', $path or croak "$path: $!";
    print {$fh} $text;
    close $fh or croak "$path: $!";
    chmod $mode, $path if defined $mode;

    return $path;
}


sub read {
    my ($self, $name) = @_;

    open my $fh, '<', "$self->{dir}/$name" or return '';
    local $/;

    return scalar <$fh> // '';
}


# Writes nginx.conf. The first line of the text is line 2 of the file, and
# %%DIR%% in it stands for the directory.

sub configure {
    my ($self, $text, %opt) = @_;
    my $load = $self->{static} || $opt{without} ? '#'
        : 'load_module ' . $self->module . ';';

    $text =~ s/%%DIR%%/$self->{dir}/g;

    $self->write('conf/nginx.conf', "$load\n$text");
}


# Paths that an http block needs to keep inside of the directory.

sub http_paths {
    return 'access_log logs/access.log; '
           . join ' ', 'client_body_temp_path tmp/body;',
               map { "${_}_temp_path tmp/$_;" } qw(proxy fastcgi uwsgi scgi);
}


sub command {
    my ($self, @args) = @_;
    my @as = $self->{user}
        ? ('setpriv', "--reuid=$user", "--regid=$user", '--clear-groups') : ();
    my $level = $self->{level} // 'info';

    return (@as, 'env', (map { "$_=$self->{env}{$_}" }
                         sort keys %{$self->{env}}),
            $self->{binary}, '-p', "$self->{dir}/", '-c', 'conf/nginx.conf',
            '-e', 'logs/error.log',
            '-g', "pid logs/nginx.pid; error_log logs/error.log $level;",
            @args);
}


# (status, output) of nginx with these arguments, to its end.

sub run {
    my ($self, @args) = @_;

    my $pid = open my $fh, '-|' // croak "fork: $!";

    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec $self->command(@args) or POSIX::_exit(127);
    }

    local $/;
    my $out = <$fh> // '';
    close $fh;

    return ($? >> 8, $out);
}


# Starts it in the background and waits for the pid file.

sub start {
    my ($self) = @_;

    my ($status, $out) = $self->run;
    croak "nginx did not start: $out" if $status;

    $self->wait_for(10, 'the pid file', sub { $self->pid });

    return $self;
}


sub pid {
    my ($self, $name) = @_;
    my $text = $self->read($name // 'logs/nginx.pid');

    return $text =~ /^(\d+)$/ ? $1 : undef;
}


sub signal {
    my ($self, $signal, $name) = @_;
    my $pid = $self->pid($name) // croak 'nginx does not run';

    kill $signal, $pid or croak "kill $pid: $!";
}


# HUP, and waits for workers of the new configuration.

sub reload {
    my ($self) = @_;
    my $pid = $self->pid;
    my %old = map { $_ => 1 } children($pid);

    kill 'HUP', $pid;
    $self->wait_for(15, 'new workers', sub {
        grep { !$old{$_} && cmdline($_) =~ /worker process$/ } children($pid);
    });
}


sub quit {
    my ($self, $seconds) = @_;
    my $pid = $self->pid // return 1;

    kill 'QUIT', $pid;

    return eval { $self->wait_for($seconds // 10, 'the end of nginx',
                                  sub { !-e "/proc/$pid" }) };
}


sub wait_for {
    my ($self, $seconds, $what, $check) = @_;
    my $end = time() + $seconds;

    for (;;) {
        my $rc = $check->();
        return $rc if $rc;
        croak "no $what in $seconds s\n" . $self->error_log if time() > $end;
        sleep 0.05;
    }
}


sub error_log { return $_[0]->read('logs/error.log') }


# A TCP port of loopback that is free now.

sub port {
    my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')
        // croak "no port: $!";

    return $socket->sockport;
}


sub children {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/task/$pid/children" or return;

    return split ' ', scalar <$fh> // '';
}


sub cmdline {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/cmdline" or return '';
    local $/;

    return join ' ', split /\0/, scalar <$fh> // '';
}


sub comm {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/comm" or return '';
    my $comm = <$fh> // '';
    chomp $comm;

    return $comm;
}


# Supervisor, holders and cores of this nginx, or those of one name.

sub processes {
    my ($self, $name) = @_;
    my @found;

    for my $pid (map { m{/(\d+)$} } glob '/proc/[0-9]*') {
        my $comm = comm($pid);

        next unless $comm =~ /^tailnet-/ && (!defined $name || $comm eq $name);
        push @found, $pid if $self->mine($pid);
    }

    return @found;
}


# Whether a process is of this nginx: its command line names the directory, or
# that of one it descends from does.

sub mine {
    my ($self, $pid) = @_;

    while ($pid > 1) {
        return 1 if index(cmdline($pid), $self->{dir}) >= 0;

        open my $fh, '<', "/proc/$pid/stat" or return 0;
        ($pid) = scalar(<$fh>) =~ /\) \S (\d+)/ or return 0;
    }

    return 0;
}


sub DESTROY {
    my ($self) = @_;
    local ($?, $@, $!);

    return if $self->{owner} != $$;

    for my $name ('logs/nginx.pid', 'logs/nginx.pid.oldbin') {
        my $pid = $self->pid($name) // next;

        next unless cmdline($pid) =~ /^nginx: /;
        kill 'TERM', $pid;
        eval { $self->wait_for(5, 'end', sub { !-e "/proc/$pid" }); 1 }
            or kill 'KILL', children($pid), $pid;
    }

    # The supervisor ends by itself then.

    eval { $self->wait_for(5, 'end', sub { !$self->processes }); 1 }
        or kill 'KILL', $self->processes;
}


1;
